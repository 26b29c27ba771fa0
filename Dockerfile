# A digest may follow each tag (name:tag@sha256:…); deploy/README.md says how to find and set it.
ARG BUILD_IMAGE=node:24.21.0-trixie
ARG RUNTIME_IMAGE=node:24.21.0-trixie-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY src ./src
RUN npm run build

FROM ${BUILD_IMAGE} AS production
WORKDIR /app
COPY package.json package-lock.json .npmrc LICENSE ./
COPY --from=build /src/dist ./dist
# The context keeps the modes of whoever checked it out; the user below has to read every file and may write none.
RUN npm ci --omit=dev --ignore-scripts && chmod -R a+rX,go-w /app

# Nothing runs while this stage is built, so a base without a shell serves as well.
FROM ${RUNTIME_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cambist" \
      org.opencontainers.image.description="A token-exchange proxy beside an AI agent." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
# Distroless images keep node in /nodejs/bin.
ENV NODE_ENV=production \
    PATH=/usr/local/bin:/nodejs/bin:/usr/bin:/bin
WORKDIR /app
COPY --from=production /app/LICENSE /app/package.json ./
COPY --from=production /app/node_modules ./node_modules
COPY --from=production /app/dist ./dist
# By number: Kubernetes cannot tell from a name that it is not root's.
USER 65532:65532
EXPOSE 8180 9180
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["run"]
