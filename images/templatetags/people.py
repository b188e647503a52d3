"""Times, durations, sizes and marks for templates."""

from django import template

from common.humanize import ago, badge, duration, megabytes, roughly, took

register = template.Library()
for each in (ago, badge, duration, megabytes, roughly, took):
    register.filter(each.__name__, each)
