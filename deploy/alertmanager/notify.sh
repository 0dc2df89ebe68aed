#!/bin/sh
# A CGI program that writes the notification that Alertmanager posts, one line of JSON, to the log of the container.
cat >&2
printf 'Content-Type: text/plain\r\n\r\n'
