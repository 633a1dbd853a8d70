package failover

const RemovedTime = removedTime

// Copies returns the number of copies of Transport.Base that the Transport holds.
func (t *Transport) Copies() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.copies)
}
