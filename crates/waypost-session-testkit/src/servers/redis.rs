//! Starters of real `redis-server` processes.
