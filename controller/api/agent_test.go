package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// A switch is told its state; a second box of its name is told which box has it.
func TestSwitchStateByTheAPI(t *testing.T) {
	b := newBench(t)
	c := b.client()
	s, ok, err := c.SwitchState(t.Context(), "leaf1", "1", 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "abc", s.Hash)
	require.Equal(t, "leaf1", s.Device.Hostname)

	var p *client.Problem
	_, _, err = c.SwitchState(t.Context(), "nobody", "1", 0)
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	require.Contains(t, p.Detail, "there is no node nobody")
	taken := func(err error) {
		t.Helper()
		var p *client.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, http.StatusConflict, p.Status)
		require.Contains(t, p.Detail, "node leaf1 has an agent, on the box with serial number 1, and the box with serial number stranger wants to be it too")
	}
	_, _, err = c.SwitchState(t.Context(), "leaf1", "stranger", 0)
	taken(err)
	_, err = c.ReportSwitch(t.Context(), "leaf1", switchstate.Report{Serial: "stranger", Ports: []switchstate.Port{}})
	taken(err)
}
