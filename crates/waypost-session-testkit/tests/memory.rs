//! The in-memory reference store keeps the contract.

waypost_session_testkit::conformance!(waypost_session_testkit::MemoryBuilder);
