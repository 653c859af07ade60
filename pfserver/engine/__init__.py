"""What happens to a job: submit, dispatch, cancel, lease, feed. Knows interfaces only: no SQL, no wire format.

:class:`~pfserver.engine.service.Engine` is the room's face. A :mod:`dispatcher <pfserver.engine.dispatcher>` for each
queue claims jobs and has each produced by a :mod:`run <pfserver.engine.run>`; what is told about a job goes through the
:mod:`feed <pfserver.engine.feed>` to its followers.
"""
