"""Where a browser that calls a function is led: the page that shows the same."""

from __future__ import annotations

from panel.mgrapi.call import NUMBER, Call

LISTS = {
    "vm": "/vms",
    "vmhostnode": "/nodes",
    "vmhostnode.edit": "/nodes",
    "vmhostnode.info": "/nodes",
    "task": "/tasks",
    "iso": "/isos",
    "user": "/users",
    "user.edit": "/users",
    "userrights": "/users",
    "vm.edit": "/vms/new",
    "auth": "/login",
    "exit": "/login",
}
OF_A_VM = {
    "vm.edit": "",
    "vm.sysinfo": "",
    "vm.start": "",
    "vm.stop": "",
    "vm.restart": "",
    "vm.migrate": "",
    "snapshot": "",
    "volume": "/devices",
    "iplist": "/devices",
    "vm.clone": "",
    "vm.chpasswd": "/guest",
    "vm.reinstall": "/guest",
    "vm.novnc": "/console",
    "novnc": "/console",
}


def page_of(call: Call) -> str:
    """The page's path; the dashboard where nothing fits better."""
    elid = call.text("plid", "elid")
    if call.func in OF_A_VM and NUMBER.match(elid):
        return f"/vms/{int(elid)}{OF_A_VM[call.func]}"
    if call.func in ("user.edit", "userrights") and NUMBER.match(elid):
        return f"/users/{int(elid)}"
    if call.func == "vmhostnode.info" and NUMBER.match(elid):
        return f"/nodes/{int(elid)}"
    return LISTS.get(call.func, "/")
