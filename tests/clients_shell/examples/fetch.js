const PINGPULSE_URL = "https://app.pingpulse.com/dhk/YOUR_WORKFLOW_ID";
const API_KEY = "your_api_key";

async function pingStage(stagePath, payload = {}, { start = false, final = false } = {}) {
  const params = new URLSearchParams({
    key: API_KEY,
    stagePath,
    ...(start && { start: "yes" }),
    ...(final && { final: "yes" }),
  });

  const response = await fetch(`${PINGPULSE_URL}?${params}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(payload),
  });
  return response.json();
}

// Usage
await pingStage("1", { step: "extract" }, { start: true });
await pingStage("2", { records: 1000 });
await pingStage("3", { status: "complete" }, { final: true });
