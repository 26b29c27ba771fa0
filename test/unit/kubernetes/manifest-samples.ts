import type { RawOptions } from '../../../src/kubernetes/options.ts';
import { injectText, request } from './samples.ts';

export const injected = (text: string, flags: RawOptions = {}) =>
  injectText(text, request({ flags: { ...request().flags, ...flags } }));

const UNTOUCHED = `# a ConfigMap
apiVersion: v1
kind: ConfigMap
metadata: {name:   x}   # odd   white space
data:
   a:   "b"
   c: |
     --- not a document
`;

export const DEPLOYMENT = `# the agent
apiVersion: apps/v1
kind: Deployment
metadata:
  name: agent # its name
# the workload
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata:
      labels: { app: agent }
    spec:
      # models are loaded first
      initContainers:
      # loads the model
      - name: loader
        image: 'loader:1'

      containers:
      - name: agent
        image: "agent:1"
        args: [ "--mode", 0644, 1e3, 0x1F, yes, 2026-01-01, 12345678901234567890 ]
        # the end of the agent
`;

export const STREAM = `${UNTOUCHED}---
${DEPLOYMENT}---
# an empty document
---
kind: Service
apiVersion: v1
spec: {}
...
`;
