"""The command line: `reptune assets list | fetch | verify | export | import`."""
