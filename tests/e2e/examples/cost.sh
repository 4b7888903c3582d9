curl -X POST "https://pingpulsehq.com/dhk/dwf_xxx?stage=2&key=YOUR_KEY" \
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
