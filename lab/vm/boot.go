package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// guest is what one boot is for.
type guest struct {
	command []string
	memory  int // MiB
}

// run boots the guest, which runs the command, and returns the command's exit
// status. QEMU is gone when it returns, and when this process is killed.
func (i image) run(ctx context.Context, g guest) (int, error) {
	dir, err := os.MkdirTemp("", "weft-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	script, err := g.script(i)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "command"), []byte(script), 0o755); err != nil {
		return 0, err
	}
	klog, rc := filepath.Join(dir, "klog"), filepath.Join(dir, "rc")
	// The kernel ends the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(max(2, min(4, runtime.NumCPU()))), "-m", strconv.Itoa(g.memory),
		"-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
		"-serial", "stdio", "-serial", "file:"+klog, "-serial", "file:"+rc,
		"-fsdev", "local,id=r,path=/,security_model=none,readonly=on,multidevs=remap", "-device", "virtio-9p-pci,fsdev=r,mount_tag=root",
		"-kernel", i.kernel(), "-initrd", i.initramfs(),
		"-append", "console=ttyS1 quiet panic=-1 mitigations=off nokaslr weft.run="+dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = os.Stdout, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("install qemu-system-x86: %w", err)
		}
		return 0, fmt.Errorf("run the guest: %w: %s", err, last(said.String(), 5))
	}
	b, err := os.ReadFile(rc)
	if err != nil {
		return 0, err
	}
	status, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		log, _ := os.ReadFile(klog)
		return 0, fmt.Errorf("the guest ended without an exit status; its kernel said last:\n%s", last(string(log), 80))
	}
	return status, nil
}

// script is what the guest runs on the machine's files: the command in the
// working directory and with the environment of this process.
func (g guest) script(i image) (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\nmkdir -p /lib/modules\nln -sfn %s /lib/modules/%s\n", quote(i.modules()), i.release)
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); isName(name) {
			fmt.Fprintf(&b, "export %s=%s\n", name, quote(value))
		}
	}
	fmt.Fprintf(&b, "cd %s\nexec", quote(wd))
	for _, a := range g.command {
		b.WriteString(" " + quote(a))
	}
	b.WriteString("\n")
	return b.String(), nil
}

// quote makes one word of a shell of a text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// isName reports whether a shell can export a variable of the name.
func isName(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
