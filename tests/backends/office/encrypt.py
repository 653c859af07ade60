"""Encrypts a document with LibreOffice: source, target, profile folder. For the Python that has the uno module."""

import os
import signal
import subprocess
import sys
import time

import uno

source, target, profile = sys.argv[1:]
pipe = "pfserver-test-" + str(os.getpid())
address = "pipe,name=" + pipe + ";urp;StarOffice.ComponentContext"
office = subprocess.Popen(
    ["soffice", "-env:UserInstallation=file://" + profile, "--headless", "--norestore", "--accept=" + address],
    start_new_session=True,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)


def value(name, content):
    item = uno.createUnoStruct("com.sun.star.beans.PropertyValue")
    item.Name, item.Value = name, content
    return item


try:
    local = uno.getComponentContext()
    resolver = local.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
    for _ in range(600):
        try:
            context = resolver.resolve("uno:" + address)
            break
        except Exception:  # noqa: BLE001 - it is still starting
            time.sleep(0.05)
    desktop = context.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", context)
    document = desktop.loadComponentFromURL(uno.systemPathToFileUrl(source), "_blank", 0, (value("Hidden", True),))
    document.storeToURL(
        uno.systemPathToFileUrl(target), (value("FilterName", "writer8"), value("Password", "open sesame"))
    )
    document.close(True)
    desktop.terminate()
    office.wait(10)
finally:
    if office.poll() is None:
        os.killpg(office.pid, signal.SIGKILL)
