// Swagger UI over the panel's own schema, signed in by the page's session.
const place = document.getElementById("swagger");
window.SwaggerUIBundle({
  url: "/api/v1/schema?format=json",
  dom_id: "#swagger",
  deepLinking: true,
  docExpansion: "none",
  requestInterceptor(request) {
    request.headers["X-CSRFToken"] = place.dataset.csrf;
    return request;
  },
});
