package retryablehttp

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The attempts of a call share a value for each key, and no two calls share one.
func TestCallValueIsSharedByTheAttemptsOfACall(t *testing.T) {
	type key string
	for name, way := range gets {
		t.Run(name, func(t *testing.T) {
			var places []*atomic.Value
			client := &Client{RetryMax: 2, Backoff: noWait}
			client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				ctx, cancel := context.WithCancel(req.Context()) // a transport may derive its own
				defer cancel()
				for _, k := range []key{"a", "b", "c"} {
					place := CallValue(ctx, k)
					require.NotNil(t, place)
					assert.Same(t, place, CallValue(ctx, k))
					if AttemptNumber(ctx) == 1 {
						assert.Nil(t, place.Load())
						places = append(places, place)
						place.Store(k)
					}
					assert.Equal(t, k, place.Load())
				}
				return nil, errors.New("lost")
			})}
			for range 2 {
				_, err := way(t.Context(), client)
				require.Error(t, err)
			}
			require.Len(t, places, 6)
			for i := range places {
				for j := range i {
					assert.NotSame(t, places[i], places[j])
				}
			}
		})
	}
}

func TestCallValueOutsideOfACall(t *testing.T) {
	assert.Nil(t, CallValue(t.Context(), "key"))
}

// The attempts of a nested client are those of the outer one's call.
func TestCallValueOfANestedClient(t *testing.T) {
	var places []*atomic.Value
	inner := &RoundTripper{Client: &Client{RetryMax: 5}, Base: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		places = append(places, CallValue(req.Context(), "key"))
		return nil, errors.New("lost")
	})}
	outer := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: inner}}
	_, err := outer.Get("http://host/")
	require.Error(t, err)
	require.Len(t, places, 2)
	assert.NotNil(t, places[0])
	assert.Same(t, places[0], places[1])
}
