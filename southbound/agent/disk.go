package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weft-sdn/weft/controller/atomicfile"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Disk keeps the underlay's last good state in a folder, so that a switch that starts
// while the controller is away has it. A nil Disk keeps nothing.
//
// A state replaces the one before by a rename, after it is on the disk: a crash leaves
// either of them. A file that was torn nevertheless is found by its hash.
type Disk struct{ Dir string }

// stateFile is the name of the file.
const stateFile = "state.json"

// Load reads the state; nil when there is none.
func (d *Disk) Load() (*switchstate.State, error) {
	if d == nil {
		return nil, nil
	}
	path := filepath.Join(d.Dir, stateFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last good state: %w", err)
	}
	s, err := switchstate.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged and not used: %w", path, err)
	}
	switch {
	case s.Version > switchstate.Version:
		return nil, fmt.Errorf("%s is not used: state version %d is newer than this agent understands (%d): upgrade the agent", path, s.Version, switchstate.Version)
	case s.Device.Hash() != s.Hash:
		return nil, fmt.Errorf("%s is damaged and not used: its content has the hash %s, not %s", path, s.Device.Hash(), s.Hash)
	}
	return &s, nil
}

// Save keeps a state. What was kept stays when that fails, such as on a full disk.
func (d *Disk) Save(s switchstate.State) error {
	if d == nil {
		return nil
	}
	b, err := json.Marshal(s)
	if err == nil {
		err = d.replace(b)
	}
	if err != nil {
		return fmt.Errorf("the state is in place, but can't be kept for a start without the controller: %w", err)
	}
	return nil
}

// replace writes the file as a whole or not at all.
func (d *Disk) replace(b []byte) error {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(d.Dir, stateFile), b, 0o600)
}
