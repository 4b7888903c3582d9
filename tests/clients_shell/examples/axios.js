const axios = require('axios');

const PINGPULSE_KEY = 'YOUR_KEY';
const BASE_URL = 'https://pingpulsehq.com';

async function pingStage(workflowId, stage) {
  const url = `${BASE_URL}/shk/${workflowId}`;
  return axios.get(url, { params: { stage, key: PINGPULSE_KEY } });
}

async function pingDynamic(workflowId, stagePath, options = {}) {
  const url = `${BASE_URL}/dhk/${workflowId}`;
  const params = { stagePath, key: PINGPULSE_KEY };
  if (options.start) params.start = 'yes';
  if (options.stagename) params.stagename = options.stagename;
  return axios.get(url, { params });
}

// Usage
await pingStage('swf123', 1);
await pingDynamic('ml_pipeline', '1', { start: true });
