"""What pfserver finds of this package."""

from pfserver_mailing.backend import MailingPlugin
from pfserver_mailing.vcard import VCardSource

mailing = MailingPlugin()
vcard = VCardSource()
