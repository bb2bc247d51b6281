package api

import (
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/store"
)

// What the controller is wired with fits.
var (
	_ Store  = (*store.Store)(nil)
	_ Status = (*engine.Engine)(nil)
)
