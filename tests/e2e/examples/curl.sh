set -e
curl -fsS "https://pingpulsehq.com/shk/swf123?stage=1&key=YOUR_KEY"
curl -fsS "https://pingpulsehq.com/dhk/ml_pipeline?stagePath=1&start=yes&key=YOUR_KEY"
curl -fsS "https://pingpulsehq.com/dhk/ml_pipeline?stagePath=2.1&stagename=Train%20GPU&key=YOUR_KEY"
curl -fsS "https://pingpulsehq.com/dhk/ml_pipeline?stagePath=3&key=YOUR_KEY&agent=model-trainer"
curl -fsS -X POST "https://pingpulsehq.com/dhk/ml_pipeline?stage=2&key=YOUR_KEY" \
  -H "Content-Type: application/json" \
  -d '{
"model_id": "claude-3-opus",
"usage": {
"input_tokens": 1500,
"output_tokens": 500,
"total_tokens": 2000
},
"cost_usd": 0.045,
"tool_calls": [
{"tool_name": "web_search", "latency_ms": 250, "success": true}
]
}'
curl -fsS -X POST "https://pingpulsehq.com/dhk/YOUR_ID?key=YOUR_KEY&stagePath=1&start=yes" \
  -H "Content-Type: application/json" \
  -d '{"step": "extract"}'
curl -fsS -X POST "https://pingpulsehq.com/dhk/YOUR_ID?key=YOUR_KEY&stagePath=2" \
  -H "Content-Type: application/json" \
  -d '{"records": 1000}'
curl -fsS -X POST "https://pingpulsehq.com/dhk/YOUR_ID?key=YOUR_KEY&stagePath=3&final=yes" \
  -H "Content-Type: application/json" \
  -d '{"status": "complete"}'
