// Package steering decides which links of a fabric carry what.
package steering
