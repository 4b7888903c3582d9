// The API reference. Who is logged in may try it out: writes then need the token that the cookie holds.
"use strict";

const place = document.getElementById("reference");
const token = () => document.cookie.split("; ").find((one) => one.startsWith("csrf_token="))?.slice("csrf_token=".length);

window.SwaggerUIBundle({
  url: place.dataset.url,
  domNode: place,
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: -1,
  validatorUrl: null,
  presets: [window.SwaggerUIBundle.presets.apis],
  requestInterceptor: (request) => {
    const known = token();
    const isOurs = new URL(request.url, location.href).origin === location.origin;
    if (known && isOurs) request.headers["X-CSRF-Token"] = decodeURIComponent(known);
    return request;
  },
});
