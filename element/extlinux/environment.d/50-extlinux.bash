# What the kernel is told; see README.rst.
export DIB_EXTLINUX_CMDLINE=${DIB_EXTLINUX_CMDLINE:-ro console=tty0 console=ttyS0,115200 no_timer_check}
