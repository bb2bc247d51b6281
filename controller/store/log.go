package store

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger hands etcd's warnings and errors to slog and drops the rest. While closing
// is set they are for debugging: each listener that is closed on purpose is an error of
// etcd's.
func zapLogger(l *slog.Logger, closing *atomic.Bool) *zap.Logger {
	return zap.New(slogCore{l.Handler(), closing})
}

type slogCore struct {
	h       slog.Handler
	closing *atomic.Bool
}

// tooSoon is the error of which etcd tells once for each new member: it looks for the
// version of its schema before the first entry is there, and looks again.
const tooSoon = "cannot detect storage schema version: missing term information"

// level is that of an entry with an error.
func (c slogCore) level(l zapcore.Level, err any) slog.Level {
	switch {
	case c.closing.Load(), err == tooSoon:
		return slog.LevelDebug
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	}
	return slog.LevelWarn
}

// Enabled implements zapcore.LevelEnabler.
func (c slogCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && c.h.Enabled(context.Background(), c.level(l, nil))
}

// With implements zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.h.WithAttrs(attrs(fields)), c.closing}
}

// Check implements zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	all := attrs(fields)
	var said any
	if i := slices.IndexFunc(all, func(a slog.Attr) bool { return a.Key == "error" }); i >= 0 {
		said = all[i].Value.Any()
	}
	level := c.level(e.Level, said)
	if !c.h.Enabled(context.Background(), level) {
		return nil
	}
	r := slog.NewRecord(e.Time, level, "etcd: "+e.Message, 0)
	r.AddAttrs(all...)
	return c.h.Handle(context.Background(), r)
}

// Sync implements zapcore.Core.
func (c slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
	}
	for k, v := range enc.Fields {
		out = append(out, slog.Any(k, v))
	}
	return out
}
