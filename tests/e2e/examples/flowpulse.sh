set -eu
curl -fsS https://app.flowpulse.xyz/api/v1/workflows -H "X-API-Key: fp_your_key"
curl -fsS -X POST https://app.flowpulse.xyz/api/v1/ingest/run-success \
  -H "X-API-Key: fp_your_key" \
  -H "Content-Type: application/json" \
  -d '{
    "workflow_slug": "lead-enrichment",
    "started_at": "2026-01-15T09:00:00Z",
    "ended_at": "2026-01-15T09:00:04Z",
    "external_execution_id": "1234",
    "source_platform": "n8n",
    "source_workflow_id": "wf-7",
    "correlation_id": "order-99",
    "metadata": {"leads": 12}
  }'
curl -fsS -X POST https://app.flowpulse.xyz/api/v1/ingest/run-failure \
  -H "Authorization: Bearer fp_your_key" \
  -H "Content-Type: application/json" \
  -d '{
    "workflow_slug": "lead-enrichment",
    "started_at": "2026-01-15T10:00:00Z",
    "ended_at": "2026-01-15T10:00:04Z",
    "duration_ms": 4000,
    "external_execution_id": "1235",
    "error_message": "429 from the CRM",
    "error_type": "RateLimitError"
  }'
