package store

import (
	"context"
	"fmt"
)

// child writes ports into a store until it is killed.
func child(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	_, _ = s.Put(ctx, tenant("blue"), PutOptions{})
	_, _ = s.Put(ctx, network("blue", "web", "10.0.0.0/16"), PutOptions{})
	for i := 0; ; i++ {
		name := fmt.Sprintf("p%d", i)
		if _, err := s.Put(ctx, port("blue", "web", name), PutOptions{}); err != nil {
			fmt.Println("error:", err)
			return
		}
		fmt.Println(name)
	}
}
