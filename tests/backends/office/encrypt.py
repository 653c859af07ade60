"""Encrypts a document with LibreOffice, to each target: source, profile folder, targets. For a Python with uno."""

import os
import signal
import subprocess
import sys
import time

import uno

source, profile, *targets = sys.argv[1:]
FILTERS = {"odt": "writer8", "docx": "MS Word 2007 XML", "doc": "MS Word 97"}
pipe = "pfserver-test-" + str(os.getpid())
address = "pipe,name=" + pipe + ";urp;StarOffice.ComponentContext"
office = subprocess.Popen(
    ["soffice", "-env:UserInstallation=file://" + profile, "--headless", "--norestore", "--accept=" + address],
    start_new_session=True,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)


def named(name, content):
    item = uno.createUnoStruct("com.sun.star.beans.NamedValue")
    item.Name, item.Value = name, content
    return item


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
    for target in targets:
        name = FILTERS[target.rpartition(".")[2]]
        properties = (value("FilterName", name), value("Password", "open sesame"))
        if target.endswith(".docx"):
            # This filter does not look at the property of that name.
            keys = (named("CryptoType", "Standard"), named("OOXPassword", "open sesame"))
            encryption = uno.Any("[]com.sun.star.beans.NamedValue", keys)
            properties = (value("FilterName", name), value("EncryptionData", encryption))
        document.storeToURL(uno.systemPathToFileUrl(target), properties)
    document.close(True)
    desktop.terminate()
    office.wait(10)
finally:
    if office.poll() is None:
        os.killpg(office.pid, signal.SIGKILL)
