#!/bin/bash
# backup.sh

set -e  # Exit on error

# Your backup logic
pg_dump -h localhost mydb > /backups/mydb_$(date +%Y%m%d).sql
aws s3 cp /backups/mydb_$(date +%Y%m%d).sql s3://my-backups/

# Ping PingPulse on success
curl -fsS "https://app.pingpulse.com/hhk/MONITOR_ID?key=API_KEY" > /dev/null
