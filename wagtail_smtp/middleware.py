"""The middleware that lets email sent during a request belong to the request's site."""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from wagtail_smtp.sites import during_request

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class EmailSiteMiddleware:
    """Remember the request. Its site is looked up only if a message is sent."""

    sync_capable = True
    async_capable = True
    #: Lets a check recognise this middleware, including subclasses.
    finds_email_site = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response: Any = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._answer(request)
        with during_request(request):
            return self.get_response(request)

    async def _answer(self, request: HttpRequest) -> Any:
        with during_request(request):
            return await self.get_response(request)
