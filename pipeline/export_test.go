package pipeline

// CloseShared closes the idle connections of the shared transport.
func CloseShared() { sharedClient().CloseIdleConnections() }
