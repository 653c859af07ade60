"""A factory of the standard library alone: polls until there is no job, converts with LibreOffice, uploads.

Arguments: URL, CA, certificate, key, factory, working folder, and a file that is every job's result (none: convert).
"""

import base64
import pathlib
import ssl
import subprocess
import sys
import xmlrpc.client

url, ca, certificate, key, factory, folder, *fixed = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(certificate, key)
proxy = xmlrpc.client.ServerProxy(url, context=context)
work = pathlib.Path(folder)


def convert(job):
    """The result of a job, as base64 text."""
    if fixed:
        return base64.b64encode(pathlib.Path(fixed[0]).read_bytes()).decode()
    source = work / job["filename"]
    source.write_bytes(base64.b64decode(job["document"]))
    profile = (work / "profile").as_uri()
    command = ["soffice", "-env:UserInstallation=" + profile, "--headless", "--convert-to", job["format"]]
    subprocess.run([*command, "--outdir", folder, source], check=True, capture_output=True, timeout=60)
    # Lines of 76 characters, as MIME has them.
    return base64.encodebytes(source.with_suffix("." + job["format"]).read_bytes()).decode()


while job := proxy.jobs.poll(factory):
    document = convert(job)
    result = proxy.jobs.finish(factory, job["job"], job["format"], document)
    # The answer could have been lost: the same call again changes nothing.
    assert proxy.jobs.finish(factory, job["job"], job["format"], document) == result
    sys.stdout.write(job["job"] + " " + result + "\n")
