package hubapi

import (
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/skew"
)

const keyNeighbour = "elastichub.neighbour"

// tell has every answer say what answers.
func tell(c *gin.Context) { c.Header(skew.Header, skew.Here(skew.HubProtocol).String()) }

// neighbour reads what the Hub's class tells of itself, and refuses one that is too far apart.
func (a *API) neighbour(c *gin.Context) {
	told := skew.Parse(c.GetHeader(skew.Header))
	c.Set(keyNeighbour, told)
	err := skew.Check(skew.Service, skew.Hub, told)
	if a.deps.Seen.Note(skew.Hub, told.String(), told) && err != nil {
		a.deps.Log.ErrorContext(c.Request.Context(), "the Hub's ElasticSpawner is refused", "error", err)
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Next()
}

// isNewer reports whether the Hub's class is of a later release than this service.
func isNewer(c *gin.Context) bool {
	told, _ := c.Value(keyNeighbour).(skew.Told)
	return told.IsNewer(skew.HubProtocol)
}

// mostIgnored bounds how many fields are named in the log.
const mostIgnored = 64

// ignored are the fields of newer classes that this service does not know.
type ignored struct {
	mu   sync.Mutex
	seen map[string]bool
}

// isNews reports whether a field is the first of its name, and may be logged.
func (i *ignored) isNews(field string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen[field] || len(i.seen) >= mostIgnored {
		return false
	}
	if i.seen == nil {
		i.seen = map[string]bool{}
	}
	i.seen[field] = true
	return true
}
