curl "https://pingpulsehq.com/phk/ph123/start?key=YOUR_KEY"
curl "https://pingpulsehq.com/phk/ph123/finish?key=YOUR_KEY"
curl -X POST "https://pingpulsehq.com/phk/ph123/start" \
-H "Content-Type: application/json" \
-d '{"key":"YOUR_KEY","agent":"ci-server","metadata":{"job":"nightly_backup"}}'
curl -X POST "https://pingpulsehq.com/phk/ph123/finish" \
-H "Content-Type: application/json" \
-d '{"key":"YOUR_KEY","agent":"ci-server","metadata":{"status":"success","duration_ms":45000}}'
curl "https://pingpulsehq.com/hbk/cron_backup?key=YOUR_KEY"
curl -X POST "https://pingpulsehq.com/hbk/cron_backup" \
-H "Content-Type: application/json" \
-d '{"key":"YOUR_KEY","status":"ok","rows_processed":1500}'
