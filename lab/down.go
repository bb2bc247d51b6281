package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
)

// Down takes a lab down: no process, namespace, link or file of it stays. A
// lab that is half made, or not there, is no error.
func Down(name string, progress Progress) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("labs need root, for network namespaces: run it with sudo")
	}
	s, err := Load(name)
	if err != nil {
		return err
	}
	_, unlock, err := lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	if progress == nil {
		progress = silent{}
	}
	done := progress.Phase(fmt.Sprintf("take down %d namespaces and %d processes", len(s.Namespaces()), len(s.Processes)))
	if err = s.setPhase(PhaseStopping); err == nil {
		err = remove(s)
	}
	done(err)
	if Parent() == "/run/weft" {
		_ = os.Remove(Parent()) // when it was the last lab
	}
	return err
}

// remove ends all processes of a lab, its namespaces and its folder. Besides
// the processes that the state names, it ends those that live in the lab's
// namespaces: they were started by an exec line, by "lab exec", or just before
// a crash.
func remove(s *State) error {
	namespaces := s.Namespaces()
	var errs []error
	processes := slices.Clone(s.Processes)
	// The controller may wish to end well; the rest has nothing to lose.
	grace := func(ps []Process, d time.Duration) {
		if err := stop(ps, d); err != nil {
			errs = append(errs, err)
		}
	}
	var gentle, rest []Process
	for _, p := range processes {
		if p.Node == controllerNode {
			gentle = append(gentle, p)
		} else {
			rest = append(rest, p)
		}
	}
	grace(gentle, 5*time.Second)
	// FRR and Open vSwitch tidy up their files when asked to end, but those
	// are in our folder: kill them.
	grace(rest, 0)
	for range 3 { // what is found may just have started another
		found, err := netns.Processes(namespaces)
		if err != nil {
			errs = append(errs, err)
		}
		var inside []Process
		for ns, pids := range found {
			for _, pid := range pids {
				if ticks, _, err := startTime(pid); err == nil {
					inside = append(inside, Process{Node: ns, Name: "process", PID: pid, Start: ticks})
				}
			}
		}
		if len(inside) == 0 {
			break
		}
		grace(inside, 0)
		processes = append(processes, inside...)
	}
	for _, ns := range namespaces {
		if err := netns.Delete(ns); err != nil {
			errs = append(errs, err)
		}
	}
	if err := s.shrinkNeighbours(); err != nil {
		errs = append(errs, err)
	}
	forgetLogs(processes)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("take down lab %s: %w", s.Name, err) // the folder stays, to try again
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("take down lab %s: %w", s.Name, err)
	}
	return nil
}

// forgetLogs removes what FRR's daemons leave: their last log lines, by process
// number.
func forgetLogs(processes []Process) {
	for _, p := range processes {
		for _, d := range []string{"zebra", "bgpd", "bfdd", "staticd", "ospfd", "ospf6d", "isisd"} {
			if p.Name == d || p.Name == "process" {
				_ = os.RemoveAll(filepath.Join("/var/tmp/frr", d+"."+strconv.Itoa(p.PID)))
			}
		}
	}
}
