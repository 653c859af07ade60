"""What happens to a job: submit, dispatch, cancel, lease, feed. It knows interfaces only: no SQL, no wire format."""
