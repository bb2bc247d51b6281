#!/bin/busybox sh
# The guest's first process: finds the machine's files, runs the command on
# them, tells its exit status, and ends the guest.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for m in /modules/*; do $b insmod "$m"; done
for word in $($b cat /proc/cmdline); do
  case $word in weft.run=*) run=${word#weft.run=} ;; esac
done
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose root /lower
$b mount -t tmpfs -o size=75% tmpfs /upper
$b mkdir /upper/data /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root
r=/root
$b mount -t proc proc $r/proc
$b mount -t sysfs sys $r/sys
$b mount -t cgroup2 cgroup $r/sys/fs/cgroup
$b mount -t devtmpfs dev $r/dev
$b mkdir -p $r/dev/pts $r/dev/shm $r/dev/net
$b mknod $r/dev/net/tun c 10 200 # opening it loads the module
$b mount -t devpts pts $r/dev/pts
$b mount -t tmpfs shm $r/dev/shm
$b mount -t tmpfs run $r/run
$b ip link set lo up
$b hostname guest
# The kernel asks for modules in the first root.
$b mkdir /sbin
printf '#!%s sh\nexec %s chroot %s /sbin/modprobe "$@"\n' $b $b $r >/sbin/modprobe
$b chmod 755 /sbin/modprobe
$b stty -F /dev/ttyS0 raw -echo
$b stty -F /dev/ttyS2 raw -echo
$b chroot $r /bin/sh "$run/command" </dev/null >/dev/ttyS0 2>&1
status=$?
# What was written last must be out before the power is off.
$b stty -F /dev/ttyS0 cooked
echo $status >/dev/ttyS2
$b stty -F /dev/ttyS2 cooked
$b poweroff -f
