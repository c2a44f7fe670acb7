"""The version of ipykernel that these modules stand in for; frontends and widgets ask for it."""

version_info = (7, 4, 0)
__version__ = ".".join(map(str, version_info))
kernel_protocol_version_info = (5, 5)
kernel_protocol_version = ".".join(map(str, kernel_protocol_version_info))
