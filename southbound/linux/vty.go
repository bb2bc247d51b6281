package linux

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// vtyTime bounds what one conversation with a daemon may take.
const vtyTime = 10 * time.Second

// VTY asks an FRR daemon on its command socket, as vtysh does: the commands one
// after the other, and what the last one answers. A command that the daemon
// refuses is an error with its words. In the protocol a command ends with a zero
// byte, an answer with three and a byte for its result.
func VTY(ctx context.Context, dir, daemon string, commands ...string) ([]byte, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, daemon+".vty"))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", daemon, err)
	}
	defer conn.Close()
	deadline := time.Now().Add(vtyTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	var answer []byte
	buf := make([]byte, 64<<10)
	for _, c := range append([]string{"enable"}, commands...) {
		if _, err := conn.Write(append([]byte(c), 0)); err != nil {
			return nil, fmt.Errorf("ask %s: %w", daemon, err)
		}
		answer = answer[:0]
		for !answered(answer) {
			n, err := conn.Read(buf)
			if err != nil {
				return nil, fmt.Errorf("ask %s: %w", daemon, err)
			}
			answer = append(answer, buf[:n]...)
		}
		result := answer[len(answer)-1]
		answer = answer[:len(answer)-4]
		if result != 0 {
			why := strings.TrimSpace(string(bytes.ReplaceAll(answer, []byte{0}, nil)))
			if why == "" {
				why = fmt.Sprintf("result %d", result)
			}
			return nil, fmt.Errorf("%s: %q: %w", daemon, strings.TrimSpace(c), &vtyError{why})
		}
	}
	return answer, nil
}

// vtyError is a daemon's answer to a command that it does not take.
type vtyError struct{ words string }

func (e *vtyError) Error() string { return e.words }

func answered(b []byte) bool {
	n := len(b)
	return n >= 4 && b[n-4] == 0 && b[n-3] == 0 && b[n-2] == 0
}
