// Vm runs a command under Debian's stock kernel, in a small virtual machine on
// this machine's own files: for what the kernel here may lack, VRFs, 802.1Q,
// netem.
//
//	vm [-timeout 10m] [-memory 2048] COMMAND [ARGUMENT...]
//	vm -clean
//
// It prints what the command prints, standard error with standard output, and
// ends with its exit status: 124 after the time ran out, 125 when the guest
// ended without one, with the kernel's last words. It is also what "go test
// -exec" wants: the command runs in the same working directory and with the
// same environment.
//
// # Design
//
// The kernel is that of Debian's package linux-image-amd64, fetched by apt-get
// and never installed. QEMU interprets it (TCG), for nested virtualisation is
// rare where tests run. The guest sees the machine's files by 9p, read-only,
// under a tmpfs that takes what it writes: a test finds all programs that are
// installed, and leaves nothing. It has no network but what it makes itself. The
// first serial port is the command's output, the second the kernel's log, the
// third the exit status.
//
// # What is kept
//
// Kernel, modules and initramfs stay in the user's cache directory, one folder
// for each version, and are made anew when missing; -clean removes them. QEMU
// ends with this process, however that ends.
package main
