"""A table → split → fit → report → export: what the command line and Prompt2Model share."""
