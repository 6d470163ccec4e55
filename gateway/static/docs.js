// No query of the page's address may change what is shown, and no validator elsewhere is asked.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#document",
  deepLinking: true,
  queryConfigEnabled: false,
  validatorUrl: null,
});
