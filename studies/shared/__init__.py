"""What several studies use: the queue of jobs, the tasks, plain references to compare with."""
