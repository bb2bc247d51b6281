package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// image is a kernel that is ready to boot.
type image struct {
	dir     string // its folder in the cache
	release string // as uname -r has it
}

func (i image) kernel() string    { return filepath.Join(i.dir, "boot", "vmlinuz-"+i.release) }
func (i image) modules() string   { return filepath.Join(i.dir, "lib", "modules", i.release) }
func (i image) initramfs() string { return filepath.Join(i.dir, "initramfs") }

// early are the modules that the guest needs to find its root.
var early = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay"}

// prepare returns the newest kernel of the cache, and fetches one when there is
// none. One process at a time does so.
func prepare(ctx context.Context, cache string) (image, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return image{}, err
	}
	lock, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		return image{}, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return image{}, fmt.Errorf("lock %s: %w", cache, err)
	}
	if img, ok := cached(cache); ok {
		return img, nil
	}
	pkg, err := packageName(ctx)
	if err != nil {
		return image{}, err
	}
	fmt.Fprintf(os.Stderr, "vm: fetching %s\n", pkg)
	tmp, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return image{}, err
	}
	defer os.RemoveAll(tmp)
	img, err := unpack(ctx, tmp, pkg)
	if err != nil {
		return image{}, err
	}
	to := filepath.Join(cache, img.release)
	if err := os.RemoveAll(to); err != nil {
		return image{}, err
	}
	if err := os.Rename(tmp, to); err != nil {
		return image{}, err
	}
	return image{to, img.release}, nil
}

// cached finds the newest kernel of the cache. Its initramfs is that of this
// program: another version of it makes its own.
func cached(cache string) (image, bool) {
	dirs, _ := filepath.Glob(filepath.Join(cache, "*", "ready"))
	slices.Sort(dirs)
	for _, ready := range slices.Backward(dirs) {
		img := image{filepath.Dir(ready), filepath.Base(filepath.Dir(ready))}
		if made, err := os.ReadFile(ready); err == nil && bytes.Equal(made, initScript) {
			return img, true
		}
	}
	return image{}, false
}

var versioned = regexp.MustCompile(`linux-image-[0-9][^ ]*-amd64\b`)

// packageName is the package of the stock kernel: what linux-image-amd64
// depends on. The package lists are fetched when it is not in them.
func packageName(ctx context.Context) (string, error) {
	for _, fetch := range []bool{false, true} {
		if fetch {
			if _, err := output(ctx, "", "apt-get", "update", "-q"); err != nil {
				return "", err
			}
		}
		if out, err := output(ctx, "", "apt-cache", "depends", "linux-image-amd64"); err == nil {
			if name := versioned.FindString(out); name != "" {
				return name, nil
			}
		}
	}
	return "", errors.New("find a kernel: apt-cache knows no package that linux-image-amd64 depends on; this needs Debian on amd64")
}

// unpack fetches a kernel's package and makes an image of it in a folder. A
// fetch that fails is tried once more with new lists: a mirror keeps only the
// last versions.
func unpack(ctx context.Context, dir, pkg string) (image, error) {
	if _, err := output(ctx, dir, "apt-get", "download", "-q", pkg); err != nil {
		if _, err := output(ctx, "", "apt-get", "update", "-q"); err != nil {
			return image{}, err
		}
		if pkg, err = packageName(ctx); err != nil {
			return image{}, err
		}
		if _, err := output(ctx, dir, "apt-get", "download", "-q", pkg); err != nil {
			return image{}, err
		}
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return image{}, fmt.Errorf("fetch %s: apt-get downloaded %d packages", pkg, len(debs))
	}
	if _, err := output(ctx, dir, "dpkg-deb", "-x", debs[0], dir); err != nil {
		return image{}, err
	}
	if err := os.Remove(debs[0]); err != nil {
		return image{}, err
	}
	img := image{dir, strings.TrimPrefix(pkg, "linux-image-")}
	if _, err := output(ctx, dir, "depmod", "-b", dir, img.release); err != nil {
		return image{}, err
	}
	if err := img.makeInitramfs(ctx); err != nil {
		return image{}, fmt.Errorf("make the initramfs: %w", err)
	}
	return img, os.WriteFile(filepath.Join(dir, "ready"), initScript, 0o644)
}

// initScript is the guest's first process.
//
//go:embed init.sh
var initScript []byte

// makeInitramfs packs busybox, the early modules in the order of their
// dependencies, and the script.
func (i image) makeInitramfs(ctx context.Context) error {
	root := filepath.Join(i.dir, "initramfs.d")
	defer os.RemoveAll(root)
	for _, d := range []string{"bin", "modules", "proc", "sys", "dev", "lower", "upper", "root"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("install busybox-static: %w", err)
	}
	if err := copyFile(busybox, filepath.Join(root, "bin", "busybox"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "init"), initScript, 0o755); err != nil {
		return err
	}
	var order []string
	for _, m := range early {
		out, err := output(ctx, "", "modprobe", "-d", i.dir, "-S", i.release, "--show-depends", m)
		if err != nil {
			return err
		}
		for _, line := range strings.Split(out, "\n") {
			path, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
			if path = strings.TrimSpace(path); ok && !slices.Contains(order, path) {
				order = append(order, path)
			}
		}
	}
	for n, path := range order {
		if err := copyFile(path, filepath.Join(root, "modules", fmt.Sprintf("%02d-%s", n, filepath.Base(path))), 0o644); err != nil {
			return err
		}
	}
	return pack(ctx, root, i.initramfs())
}

// pack writes the files under a folder as a cpio archive.
func pack(ctx context.Context, root, to string) error {
	var names bytes.Buffer
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if rel, e := filepath.Rel(root, p); e == nil {
			fmt.Fprintln(&names, rel)
		}
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, "busybox", "cpio", "-o", "-H", "newc")
	var said bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = root, &names, f, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("busybox cpio: %w: %s", err, said.Bytes())
	}
	return f.Close()
}

func copyFile(from, to string, mode fs.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, mode)
}

// output runs a program and returns what it prints; in an error are its last
// words.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, last(said.String(), 5))
	}
	return out.String(), nil
}

// last are the last lines of a text.
func last(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
