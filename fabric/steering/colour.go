package steering

// ColourScope is whose traffic has a colour: a tenant's, or with Network set that of
// one of its networks.
//
// A colour is an address of each VTEP besides its own (intent.NodeSpec.Colours, colour
// 1 first). Traffic that is sent to it has a destination of its own in the underlay,
// and so routes of its own: that is how policies tell tenants apart.
type ColourScope struct{ Tenant, Network string }
