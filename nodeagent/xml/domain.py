"""The elements of libvirt's domain XML that we set or read (https://libvirt.org/formatdomain.html)."""

from __future__ import annotations

from nodeagent.xml.builder import Children, Element, Flag, Property, yes_no
from nodeagent.xml.source import SourceProperty

DISK_LIMITS = ("read_bytes_sec", "write_bytes_sec", "read_iops_sec", "write_iops_sec")
INTERFACE_LIMITS = ("inbound_average", "outbound_average")


class Disk(Element):
    """A disk or CD-ROM drive."""

    TAG = "disk"
    type = Property("./@type")
    device = Property("./@device")
    driver_name = Property("./driver/@name")
    driver_type = Property("./driver/@type")
    cache = Property("./driver/@cache")
    discard = Property("./driver/@discard")
    source = SourceProperty()
    target_dev = Property("./target/@dev")
    target_bus = Property("./target/@bus")
    read_only = Flag("./readonly")
    alias = Property("./alias/@name")
    boot_order = Property("./boot/@order", int)
    read_bytes_sec = Property("./iotune/read_bytes_sec", int)
    write_bytes_sec = Property("./iotune/write_bytes_sec", int)
    read_iops_sec = Property("./iotune/read_iops_sec", int)
    write_iops_sec = Property("./iotune/write_iops_sec", int)


class Interface(Element):
    """A network interface."""

    TAG = "interface"
    type = Property("./@type")
    mac = Property("./mac/@address")
    bridge = Property("./source/@bridge")
    model = Property("./model/@type")
    target_dev = Property("./target/@dev")
    boot_order = Property("./boot/@order", int)
    inbound_average = Property("./bandwidth/inbound/@average", int)
    outbound_average = Property("./bandwidth/outbound/@average", int)


class Graphics(Element):
    """A console; `password_valid_to` is libvirt's UTC form 2026-01-31T12:00:00."""

    TAG = "graphics"
    type = Property("./@type")
    port = Property("./@port", int)
    autoport = Property("./@autoport", yes_no)
    listen = Property("./@listen")
    password = Property("./@passwd")
    password_valid_to = Property("./@passwdValidTo")
    listen_type = Property("./listen/@type")
    listen_address = Property("./listen/@address")


class Controller(Element):
    """A bus that devices are joined to."""

    TAG = "controller"
    type = Property("./@type")
    index = Property("./@index", int)
    model = Property("./@model")


class Serial(Element):
    """A serial port."""

    TAG = "serial"
    type = Property("./@type")
    target_port = Property("./target/@port", int)


class Console(Element):
    """The text console."""

    TAG = "console"
    type = Property("./@type")
    target_type = Property("./target/@type")
    target_port = Property("./target/@port", int)


class Channel(Element):
    """A channel between host and guest, such as the guest agent's."""

    TAG = "channel"
    type = Property("./@type")
    target_type = Property("./target/@type")
    target_name = Property("./target/@name")


class Input(Element):
    """A pointing device or keyboard."""

    TAG = "input"
    type = Property("./@type")
    bus = Property("./@bus")


class Video(Element):
    """The graphics card."""

    TAG = "video"
    model = Property("./model/@type")


class Rng(Element):
    """A source of random bytes for the guest."""

    TAG = "rng"
    model = Property("./@model")
    backend = Property("./backend")
    backend_model = Property("./backend/@model")


class OsBoot(Element):
    """A kind of device to boot from (hd, cdrom, network), where no device has a number of its own."""

    TAG = "boot"
    dev = Property("./@dev")


class FirmwareFeature(Element):
    """What a firmware that libvirt chooses must have or lack."""

    TAG = "feature"
    enabled = Property("./@enabled", yes_no)
    name = Property("./@name")


class Domain(Element):
    """A domain."""

    TAG = "domain"
    type = Property("./@type")
    name = Property("./name")
    uuid = Property("./uuid")
    title = Property("./title")
    description = Property("./description")
    memory_unit = Property("./memory/@unit")
    memory = Property("./memory", int)
    current_memory_unit = Property("./currentMemory/@unit")
    current_memory = Property("./currentMemory", int)
    vcpus = Property("./vcpu", int)
    vcpus_now = Property("./vcpu/@current", int)
    vcpu_states = Flag("./vcpus")
    cpu_shares = Property("./cputune/shares", int)
    cpu_period = Property("./cputune/global_period", int)
    cpu_quota = Property("./cputune/global_quota", int)
    io_weight = Property("./blkiotune/weight", int)
    os_type = Property("./os/type")
    arch = Property("./os/type/@arch")
    machine = Property("./os/type/@machine")
    firmware = Property("./os/@firmware")
    firmware_wishes = Flag("./os/firmware")
    firmware_features = Children("./os/firmware/feature", FirmwareFeature)
    loader = Property("./os/loader")
    loader_type = Property("./os/loader/@type")
    nvram = Property("./os/nvram")
    os_boots = Children("./os/boot", OsBoot)
    acpi = Flag("./features/acpi")
    apic = Flag("./features/apic")
    cpu_mode = Property("./cpu/@mode")
    cpu_match = Property("./cpu/@match")
    cpu_check = Property("./cpu/@check")
    cpu_model = Property("./cpu/model")
    cpu_fallback = Property("./cpu/model/@fallback")
    clock_offset = Property("./clock/@offset")
    on_poweroff = Property("./on_poweroff")
    on_reboot = Property("./on_reboot")
    on_crash = Property("./on_crash")
    emulator = Property("./devices/emulator")
    disks = Children("./devices/disk", Disk)
    controllers = Children("./devices/controller", Controller)
    interfaces = Children("./devices/interface", Interface)
    serials = Children("./devices/serial", Serial)
    consoles = Children("./devices/console", Console)
    channels = Children("./devices/channel", Channel)
    inputs = Children("./devices/input", Input)
    graphics = Children("./devices/graphics", Graphics)
    videos = Children("./devices/video", Video)
    memballoon_model = Property("./devices/memballoon/@model")
    rngs = Children("./devices/rng", Rng)
