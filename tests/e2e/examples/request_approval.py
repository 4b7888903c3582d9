import requests
import time

PINGPULSE_KEY = "YOUR_KEY"
BASE_URL = "https://pingpulsehq.com"


def request_approval(context, timeout=300, default="deny"):
    """Request human approval. Returns True if approved, False if denied."""
    # Step 1: Create approval request
    resp = requests.post(
        f"{BASE_URL}/api/approvals",
        params={"key": PINGPULSE_KEY},
        json={"context": context, "timeout_seconds": timeout, "timeout_action": default},
    )
    approval = resp.json()
    approval_id = approval["approval_id"]
    print(f"Approval requested: {approval_id}")

    # Step 2: Poll until decided
    while True:
        resp = requests.get(f"{BASE_URL}/api/approvals/{approval_id}", params={"key": PINGPULSE_KEY})
        status = resp.json()

        if status["result"] is not None:
            return status["result"] == 1

        print(f"Waiting... {status['seconds_remaining']}s remaining")
        time.sleep(5)


# Usage
if request_approval("Publish article: Q4 Earnings Report"):
    publish_article()
else:
    save_as_draft()
