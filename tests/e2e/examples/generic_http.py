import requests

PINGPULSE_URL = "https://pingpulsehq.com/dhk/YOUR_WORKFLOW_ID"
API_KEY = "YOUR_KEY"


def ping_stage(stage_path, payload=None, start=False, final=False):
    params = {"key": API_KEY, "stagePath": stage_path}
    if start:
        params["start"] = "yes"
    if final:
        params["final"] = "yes"
    response = requests.post(PINGPULSE_URL, params=params, json=payload or {})
    return response.json()


# Usage
ping_stage("1", {"step": "extract"}, start=True)
ping_stage("2", {"records": 1000})
ping_stage("3", {"status": "complete"}, final=True)
