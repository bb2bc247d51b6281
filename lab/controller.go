package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weft-sdn/weft/controller/intent"
)

// controllerListen is where the controller serves its API inside its
// namespace, besides the unix socket.
const controllerListen = "127.0.0.1:8080"

func (s *State) controllerDir() string { return filepath.Join(s.dir, controllerNode) }

// controllerSocket is the API's unix socket.
func (s *State) controllerSocket() string { return filepath.Join(s.dir, "api.sock") }

// startController runs the controller in its own namespace and waits for its
// socket.
func (r *run) startController(ctx context.Context) error {
	s := r.state
	if err := os.MkdirAll(s.controllerDir(), 0o700); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	// A controller that was killed leaves its socket behind.
	if err := os.Remove(s.controllerSocket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("controller: %w", err)
	}
	return r.daemon(ctx, program{
		node: controllerNode, name: controllerNode,
		args: []string{r.opts.Weft, "controller", "--data-dir", s.controllerDir(), "--listen", "unix:" + s.controllerSocket(), "--listen", controllerListen},
		log:  filepath.Join(s.dir, "controller.log"),
	}, s.controllerSocket())
}

// RestartController ends the lab's controller, at once when kill is set, and
// starts it again with the same data.
func RestartController(ctx context.Context, s *State, weft string, kill bool) error {
	if s.Controller == "" {
		return fmt.Errorf("lab %s runs without a controller", s.Name)
	}
	if err := Kill(s, controllerNode, kill); err != nil {
		return err
	}
	r := &run{state: s, opts: Options{Weft: weft}, progress: silent{}}
	return r.startController(ctx)
}

// objects are the Node and Link objects of the lab.
func (s *State) objects() []intent.Object { return nil }

func (r *run) register(context.Context) error { return nil }

// UseController says that the lab is to have a controller.
func (s *State) UseController() { s.Controller = "unix:" + s.controllerSocket() }
