import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from '@opentelemetry/resources';

/** This process, as telemetry names it. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` change it. */
export function telemetryResource(version: string): Resource {
  return defaultResource()
    .merge(resourceFromAttributes({ 'service.name': 'cambist', 'service.version': version }))
    .merge(detectResources({ detectors: [envDetector] }));
}
