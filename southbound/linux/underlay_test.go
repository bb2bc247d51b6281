package linux

import (
	"bufio"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// scripted is an FRR daemon on its command socket that takes every line as it is. It
// hangs up at commands that begin with hangUp.
type scripted struct {
	mu     sync.Mutex
	config []string
	heard  []string
	hangUp string
	says   map[string]string // answers to single commands
}

func newScripted(t *testing.T, dir, daemon string) *scripted {
	s := &scripted{}
	l, err := net.Listen("unix", filepath.Join(dir, daemon+".vty"))
	require.NoError(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(conn)
			conn.Close()
		}
	})
	return s
}

func (s *scripted) serve(conn net.Conn) {
	for r, in := bufio.NewReader(conn), false; ; {
		line, err := r.ReadString(0)
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\x00")
		answer := ""
		s.mu.Lock()
		if s.hangUp != "" && strings.HasPrefix(line, s.hangUp) {
			s.mu.Unlock()
			return
		}
		switch line {
		case "enable":
		case "configure terminal":
			in = true
		case "end":
			in = false
		case "show running-config":
			answer = strings.Join(s.config, "\n") + "\n"
		default:
			if in {
				s.config = append(s.config, line)
			} else {
				s.heard = append(s.heard, line)
				answer = s.says[line]
			}
		}
		s.mu.Unlock()
		if _, err := conn.Write(append([]byte(answer), 0, 0, 0, 0)); err != nil {
			return
		}
	}
}

// told is what it heard besides configuration, since the last call.
func (s *scripted) told(hangUp string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard := s.heard
	s.heard, s.hangUp = nil, hangUp
	return heard
}

// Lists that changed are held against the routes that are there, also when bgpd could not
// be asked to at once, or an agent ended in between; and not without a change.
func TestRoutesAreJudgedByListsThatChanged(t *testing.T) {
	dir := t.TempDir()
	bgpd := newScripted(t, dir, "bgpd")
	u := NewUnderlay(dir, slog.New(slog.DiscardHandler))
	list := func(u *Underlay, text string) error {
		_, err := u.reload(t.Context(), "bgpd", text, "")
		return err
	}
	judged := []string{"clear bgp ipv4 unicast * soft", "clear bgp ipv6 unicast * soft"}
	one := "ip prefix-list far seq 5 permit 10.0.0.0/8"
	require.NoError(t, list(u, one))
	require.Equal(t, judged, bgpd.told(""))
	require.NoError(t, list(u, one))
	require.Empty(t, bgpd.told("clear bgp ipv6"))

	two := one + "\nip prefix-list far seq 10 permit 172.16.0.0/12"
	require.ErrorContains(t, list(u, two), "have bgpd judge its routes again")
	require.NotEmpty(t, bgpd.told(""))
	require.NoError(t, list(u, two))
	require.Equal(t, judged, bgpd.told(""))
	require.NoError(t, list(u, two))
	require.NoError(t, list(u, two+"\nhostname leaf1"))
	require.Empty(t, bgpd.told(""), "no list changed")

	require.NoError(t, list(NewUnderlay(dir, u.log), two+"\nhostname leaf1"))
	require.Equal(t, judged, bgpd.told(""), "what an agent before this one came to is not known")
}
