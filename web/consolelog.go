package web

import "github.com/elastichub/elastichub/portal/holdings"

// logMissing says why there are no lines; empty where there are.
func (m *Messages) logMissing(one holdings.Log) string {
	switch one.Missing {
	case holdings.LogGone:
		return m.LogGone.plain()
	case holdings.LogWaiting:
		return m.LogWaiting.plain()
	case holdings.LogSilent:
		return m.LogSilent.plain()
	}
	if len(one.Lines) == 0 {
		return m.LogEmpty.plain()
	}
	return ""
}
