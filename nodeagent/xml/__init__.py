"""libvirt's XML through declared properties: builder.py has the kinds, domain.py the elements."""
